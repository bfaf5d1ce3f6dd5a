// What the harness needs of a device: memory, a stream, and graphs of what was queued on it. device_cuda.cpp is a GPU;
// device_host.cpp is this machine's memory, for a plugin whose kernel was compiled for the host.
// Whatever the device refuses is thrown as std::runtime_error.
#pragma once

#include <cstddef>
#include <string>

struct CUstream_st;

namespace device {

using Stream = CUstream_st*;

// The device's name, e.g. "NVIDIA H100 80GB HBM3".
std::string name();

void* allocate(size_t bytes);
void release(void* address) noexcept;

Stream create_stream();
void destroy_stream(Stream stream) noexcept;

// Queued on the stream; host memory is pageable.
void upload(void* to, void const* from, size_t bytes, Stream stream);
void download(void* to, void const* from, size_t bytes, Stream stream);
void fill(void* address, unsigned char byte, size_t bytes, Stream stream);
void synchronise(Stream stream);

// What is queued between the two is not run but kept.
void begin_capture(Stream stream);
void* end_capture(Stream stream);
void replay(void* graph, Stream stream);
void release_graph(void* graph) noexcept;

}  // namespace device
