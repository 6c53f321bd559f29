// Kernel command lines: read as the kernel reads them, and made for the kernel
// that comes next.
//
// The one thing that must not go wrong here: the next kernel does not inherit a
// `memmap=nn!ss` reservation. If its command line does not repeat it exactly,
// the guests' RAM goes to its page allocator. CheckKeepsMemory refuses that.

#ifndef LOADER_COMMAND_LINE_H_
#define LOADER_COMMAND_LINE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace live_update::loader {

// x86's COMMAND_LINE_SIZE is 2048 with the final NUL.
inline constexpr size_t kMaxCommandLineBytes = 2047;

// One word of a command line; views into the line that was split.
struct Parameter {
  absl::string_view word;   // As it stands there, quotes and all.
  absl::string_view name;   // Before the '=', without quotes.
  absl::string_view value;  // After it, without quotes; empty if there is none.
  bool has_value = false;
};

// A command line in its two halves: what the kernel reads, and what stands
// after "--", which it hands to init unread.
struct CommandLine {
  std::vector<Parameter> kernel;
  std::vector<Parameter> init;
};

// Splits at white space outside double quotes. `line` must outlive the result.
// kInvalidArgument: an open quote, a control character, or longer than
// kMaxCommandLineBytes. White space at the end (the newline of /proc/cmdline)
// is none of these.
absl::StatusOr<CommandLine> SplitCommandLine(absl::string_view line);

// Begins the words that are for the first boot after an update alone. The
// kernel takes it for a parameter of a module that there is not.
inline constexpr absl::string_view kFirstBootMarker = "host_update.jump";

// The words of `line` before "--" without those from kFirstBootMarker on: how
// this host is booted ordinarily. Views into `line`. As SplitCommandLine fails.
absl::StatusOr<CommandLine> OrdinaryWords(absl::string_view line);

// The next kernel's command line: the running kernel's without what only
// concerned its own boot (BOOT_IMAGE=, initrd=, kFirstBootMarker and what
// follows it, …), plus `append`. Of words that would stand there twice only the
// last stays, so that one update after another does not make it longer;
// memmap=, mem= and console= keep their order and number, and an appended one
// that would change nothing is left out. Last come kFirstBootMarker and
// `first_boot`, unless that is empty.
// kInvalidArgument: one of them is malformed (see SplitCommandLine),
// `first_boot` has a word that would have to stay (memmap=, mem=, console=), or
// the result is longer than kMaxCommandLineBytes.
absl::StatusOr<std::string> TargetCommandLine(
    absl::string_view running, absl::string_view append,
    absl::string_view first_boot = "");

// Whether a kernel started with `target` leaves alone the memory that the one
// started with `running` leaves alone: every word that shapes the memory map
// (memmap=, mem=, efi_fake_mem=) is there, unchanged, in the same order, and no
// other is. kFailedPrecondition names the words; kInvalidArgument: malformed.
absl::Status CheckKeepsMemory(absl::string_view running,
                              absl::string_view target);

// Whether a kernel started with `line` takes over what was preserved for it:
// kho= and liveupdate= are there and say yes, as the kernel reads a truth value
// ("on", "1", "y", …), the last of each counting. `kho_default`: it has
// CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT, and needs no kho=. kFailedPrecondition
// names what is missing; kInvalidArgument: malformed.
absl::Status CheckTakesOver(absl::string_view line, bool kho_default);

// The words of `line` that only a kernel has which is there to write down a
// crash: it sees one CPU, or one CPU's worth of devices that it resets.
// "nr_cpus=1" and "maxcpus=1" are none if `running` has them as well: then that
// is how this host is. kInvalidArgument: malformed.
absl::StatusOr<std::vector<std::string>> CrashKernelWords(
    absl::string_view running, absl::string_view line);

}  // namespace live_update::loader

#endif  // LOADER_COMMAND_LINE_H_
