#include "device.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace device {

std::string name() { return "host"; }

void* allocate(size_t bytes) {
    constexpr size_t kAlignment = 256;  // as cudaMalloc aligns
    void* const address = std::aligned_alloc(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
    if (address == nullptr) {
        throw std::bad_alloc();
    }
    return address;
}

void release(void* address) noexcept { std::free(address); }

Stream create_stream() { return nullptr; }
void destroy_stream(Stream) noexcept {}

void upload(void* to, void const* from, size_t bytes, Stream) { std::memcpy(to, from, bytes); }
void download(void* to, void const* from, size_t bytes, Stream) { std::memcpy(to, from, bytes); }
void fill(void* address, unsigned char byte, size_t bytes, Stream) { std::memset(address, byte, bytes); }
void synchronise(Stream) {}

void begin_capture(Stream) { throw std::runtime_error("the host has no graphs"); }
void* end_capture(Stream) { return nullptr; }
void replay(void*, Stream) {}
void release_graph(void*) noexcept {}

}  // namespace device
