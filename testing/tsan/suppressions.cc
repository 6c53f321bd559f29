// What ThreadSanitizer must not be asked of libraries that are not built for
// it: what their own atomics order is not seen.

extern "C" const char* __tsan_default_options() {
  return "halt_on_error=1:second_deadlock_stack=1";
}

extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libabsl_status.so\n"
         "called_from_lib:libabsl_strings.so\n"
         "called_from_lib:libgrpc.so\n"
         "called_from_lib:libgrpc++.so\n"
         "called_from_lib:libgpr.so\n"
         "race:libgrpc.so\n"
         "race:libgrpc++.so\n"
         "race:libgpr.so\n"
         "race:grpc::internal::CallOpClientRecvStatus\n"
         // gRPC closes what is accepted here unseen; its number comes again.
         "race:live_update::Connections::AcceptFrom\n"
         "called_from_lib:libglib-2.0.so\n"
         "race:libabsl_cord.so\n"
         "race:libabsl_cord_internal.so\n"
         "race:libupb.so\n"
         "mutex:libvirt.so\n"
         // Descriptors and defaults that are made when they are first asked
         // for.
         "race:libprotobuf.so\n"
         "race:libvirt.so\n";
}
