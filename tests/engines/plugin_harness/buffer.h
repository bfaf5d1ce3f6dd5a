// Device memory with bytes before and behind it that nobody may write.
#pragma once

#include "device.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

// NaN as half and as float: what was not computed shows.
constexpr unsigned char kPoison = 0xff;

class Buffer {
public:
    // `guard` bytes on either side, a multiple of 256 so that the alignment stays; 0 where a memory checker watches the
    // allocation itself. `offset` bytes move the data away from its alignment.
    Buffer(std::string name, size_t bytes, size_t guard, size_t offset, device::Stream stream)
        : name_(std::move(name))
        , bytes_(bytes)
        , before_(guard + offset)
        , guard_(guard)
        , memory_(device::allocate(std::max<size_t>(before_ + bytes + guard, 1))) {  // an empty one has an address, too
        if (guard_ > 0) {
            device::fill(memory_, kGuard, before_, stream);
            device::fill(data() + bytes_, kGuard, guard_, stream);
        }
    }
    ~Buffer() { device::release(memory_); }
    Buffer(Buffer const&) = delete;
    Buffer& operator=(Buffer const&) = delete;

    unsigned char* data() const { return static_cast<unsigned char*>(memory_) + before_; }
    size_t bytes() const { return bytes_; }

    void poison(device::Stream stream) const { device::fill(data(), kPoison, bytes_, stream); }

    void check_guards(device::Stream stream) const {
        if (guard_ == 0) {
            return;
        }
        check_guard("before", memory_, before_, stream);
        check_guard("behind", data() + bytes_, guard_, stream);
    }

private:
    static constexpr unsigned char kGuard = 0xa5;

    void check_guard(char const* where, void const* address, size_t bytes, device::Stream stream) const {
        std::vector<unsigned char> found(bytes);
        device::download(found.data(), address, bytes, stream);
        device::synchronise(stream);
        for (size_t i = 0; i < bytes; ++i) {
            if (found[i] != kGuard) {
                throw std::runtime_error("memory " + std::string(where) + " " + name_ + " was written, byte "
                    + std::to_string(i) + " of the " + std::to_string(bytes));
            }
        }
    }

    std::string const name_;
    size_t const bytes_;
    size_t const before_;
    size_t const guard_;
    void* const memory_;
};
