"""Fuzz targets that are also plain tests."""

def fuzz_target(name, srcs, corpus, deps, size = "small"):
    """Declares one LLVMFuzzerTestOneInput twice.

      :<name>             a test: replays every file of the corpus. Runs in CI, under ASan too.
      :<name>_libfuzzer   a fuzzer. Not part of //...:
                            bazel build --config=fuzz //state_preserve:handover_reader_fuzz_libfuzzer
                            <binary> -max_total_time=600 <copy of the corpus folder>

    Args:
      name: by convention the source's name, foo_fuzz.
      srcs: the source that defines LLVMFuzzerTestOneInput.
      corpus: folder beside the BUILD file, by convention foo_fuzz_corpus. An input that once
        crashed the target is added to it by name.
      deps: of the source.
      size: of the replaying test.
    """
    native.cc_test(
        name = name,
        size = size,
        srcs = srcs,
        args = [native.package_name() + "/" + corpus],
        data = native.glob([corpus + "/**"]),
        deps = deps + ["//testing:fuzz_replay_main"],
    )
    native.cc_binary(
        name = name + "_libfuzzer",
        testonly = True,
        srcs = srcs,
        tags = ["manual"],
        deps = deps,
    )
