#include "strip_gate_log.h"

#include <atomic>
#include <cstdio>

namespace lgeu {
namespace {

// The library's only state, because TensorRT gives a plugin no logger that fits every version: see setLoggerFinder.
std::atomic<ErrorHandler> error_handler{nullptr};

}  // namespace

void set_error_handler(ErrorHandler handler) noexcept { error_handler.store(handler); }

void log_error(std::string_view message) noexcept {
    try {
        std::string const text = "StripGate: " + std::string(message);
        ErrorHandler const handler = error_handler.load();
        if (handler != nullptr) {
            handler(text.c_str());
        } else {
            std::fprintf(stderr, "%s\n", text.c_str());
        }
    } catch (...) {
        std::fputs("StripGate: an error that could not be put into words\n", stderr);
    }
}

}  // namespace lgeu
