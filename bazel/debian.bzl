"""Repositories that stand on Debian 12 packages, so that a build needs no network.

Labels match upstream (@com_google_absl//absl/status:statusor, ...): moving to
upstream sources later is a change of WORKSPACE alone.
"""

def _native_rules_cc_impl(rctx):
    # Debian's bazel-rules-cc 0.0.4 needs Bazel 5 (use_cpp_toolchain); Debian's
    # Bazel 4.2.3 only loads these names from @rules_cc, and has them built in.
    rctx.file("BUILD.bazel")
    rctx.file("cc/BUILD.bazel")
    names = ["cc_binary", "cc_import", "cc_library", "cc_test", "cc_toolchain", "cc_toolchain_suite"]
    rctx.file("cc/defs.bzl", "".join(["%s = native.%s\n" % (n, n) for n in names]))

native_rules_cc = repository_rule(implementation = _native_rules_cc_impl)

def _no_coverage_tools_impl(rctx):
    # `bazel test` resolves this label even when no coverage is asked for.
    rctx.file("BUILD.bazel", 'filegroup(name = "coverage_report_generator", visibility = ["//visibility:public"])\n')

no_coverage_tools = repository_rule(implementation = _no_coverage_tools_impl)

def _pkg_config(rctx, module, option):
    result = rctx.execute(["pkg-config", option, module])
    if result.return_code != 0:
        fail("pkg-config %s %s: %s (see README.md, Build)" % (option, module, result.stderr))
    return [word for word in result.stdout.strip().split(" ") if word]

def _pkg_config_repository_impl(rctx):
    for package, targets in rctx.attr.packages.items():
        lines = ['package(default_visibility = ["//visibility:public"])\n']
        for target in targets:
            module = rctx.attr.prefix + target

            # Headers outside /usr/include (libxml2's) come in through a link.
            include_dirs = []
            for flag in _pkg_config(rctx, module, "--cflags-only-I"):
                link = "%s_include_%d" % (target, len(include_dirs))
                rctx.symlink(flag[2:], (package + "/" if package else "") + link)
                include_dirs.append(link)
            lines.append("cc_library(name = %r, hdrs = glob(%r), includes = %r, defines = %r, linkopts = %r)\n" % (
                target,
                [link + "/**/*.h" for link in include_dirs],
                include_dirs,
                [f[2:] for f in _pkg_config(rctx, module, "--cflags-only-other") if f.startswith("-D")],
                _pkg_config(rctx, module, "--libs"),
            ))
        rctx.file((package + "/" if package else "") + "BUILD.bazel", "\n".join(lines))

pkg_config_repository = repository_rule(
    implementation = _pkg_config_repository_impl,
    attrs = {
        "packages": attr.string_list_dict(mandatory = True, doc = "package -> targets"),
        "prefix": attr.string(doc = "pkg-config module = prefix + target"),
    },
    environ = ["PKG_CONFIG_PATH"],
)
