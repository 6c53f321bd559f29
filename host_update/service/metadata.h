// What a client may say in a call's metadata.

#ifndef HOST_UPDATE_SERVICE_METADATA_H_
#define HOST_UPDATE_SERVICE_METADATA_H_

namespace live_update {

// Whatever its value: the user sits in front, and polkit may ask for a
// password.
inline constexpr char kMayPrompt[] = "allow-interaction";

}  // namespace live_update

#endif  // HOST_UPDATE_SERVICE_METADATA_H_
