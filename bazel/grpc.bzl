"""gRPC's C++ stubs of a .proto file."""

def cc_grpc_library(name, src, imports, deps, visibility = None):
    """`imports` are the .proto files that `src` imports, `deps` the cc_proto_libraries of all of them."""
    stem = src[:-len(".proto")]
    outs = [stem + ".grpc.pb.h", stem + ".grpc.pb.cc"]
    native.genrule(
        name = name + "_stubs",
        srcs = [src] + imports,
        outs = outs,
        cmd = "$(location @com_google_protobuf//:protoc) -I. --plugin=protoc-gen-grpc=$(location @com_github_grpc_grpc//:grpc_cpp_plugin) " +
              "--grpc_out=$(GENDIR) $(location %s)" % src,
        tools = ["@com_google_protobuf//:protoc", "@com_github_grpc_grpc//:grpc_cpp_plugin"],
    )
    native.cc_library(
        name = name,
        srcs = outs[1:],
        hdrs = outs[:1],
        # Generated, and not held to this project's warnings.
        copts = ["-w"],
        visibility = visibility,
        deps = deps + ["@com_github_grpc_grpc//:grpc++"],
    )
