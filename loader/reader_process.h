// Reads a kernel's file in a process that can do nothing else: unpackers and
// parsers of what may be hostile bytes are not where a kexec can be done.
//
// That process is this program again, with one argument. It gets the open file
// and a pipe, and before it reads a byte it gives up its user and groups for
// nobody's, its capabilities, and every system call but those of reading,
// writing and memory.

#ifndef LOADER_READER_PROCESS_H_
#define LOADER_READER_PROCESS_H_

#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "loader/kernel_reading.h"

namespace live_update::loader {

// The argument. A program that calls ReadKernelApart() must call
// RunKernelReader(), and end, if it is started with it.
inline constexpr char kKernelReaderArgument[] = "read-kernel";

// As ReadKernelFile, by another process. kInternal: it ended without an answer
// (how is in the message). kDeadlineExceeded: it was ended after two minutes.
KernelReading ReadKernelApart(const UniqueFd& file);

// By `read`, reads standard input, and writes the answer to standard output.
// Returns the exit status.
int RunKernelReader(const KernelReader& read = ReadKernelFile);

}  // namespace live_update::loader

#endif  // LOADER_READER_PROCESS_H_
