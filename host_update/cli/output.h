// Where a command's result goes: to a person, a script, or the daemon.

#ifndef HOST_UPDATE_CLI_OUTPUT_H_
#define HOST_UPDATE_CLI_OUTPUT_H_

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/message.h"
#include "host_update/phase.h"

namespace live_update {

// Its functions may be called from one thread only.
class Output {
 public:
  virtual ~Output() = default;

  // The result. `text` is the same for people.
  virtual void Put(const google::protobuf::Message& message,
                   const std::string& text) = 0;

  // Why there is none, or what it means.
  virtual void Explain(const absl::Status& why) = 0;

  virtual void Entered(Phase phase) = 0;
};

// Standard output: text, or JSON. Explanations and phases are in the log.
class PrintedOutput : public Output {
 public:
  explicit PrintedOutput(bool json) : json_(json) {}
  void Put(const google::protobuf::Message& message,
           const std::string& text) override;
  void Explain(const absl::Status&) override {}
  void Entered(Phase) override {}

 private:
  const bool json_;
};

}  // namespace live_update

#endif  // HOST_UPDATE_CLI_OUTPUT_H_
