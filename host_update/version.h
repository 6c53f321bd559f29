// What this build calls itself.

#ifndef HOST_UPDATE_VERSION_H_
#define HOST_UPDATE_VERSION_H_

namespace live_update {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace live_update

#endif  // HOST_UPDATE_VERSION_H_
