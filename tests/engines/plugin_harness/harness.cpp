// The harness as a C interface for Python's ctypes. A function that fails returns nullptr or 1, and harness_error() says
// why, in the thread that called. Objects may be used from one thread at a time, different ones at once.
#include "gate_engine.h"
#include "message.h"

#include <exception>

namespace {

thread_local std::string last_message;
thread_local std::string last_error;

template <typename Function>
int status_of(Function&& function) {
    try {
        function();
        return 0;
    } catch (std::exception const& error) {
        last_error = error.what();
        return 1;
    }
}

template <typename Function>
void* object_of(Function&& function) {
    void* object = nullptr;
    status_of([&] { object = function(); });
    return object;
}

GateContext& context_of(void* context) { return *static_cast<GateContext*>(context); }

}  // namespace

void keep_message(char const* message) { last_message = message; }

std::string take_message() {
    std::string message;
    message.swap(last_message);
    return message;
}

extern "C" {

char const* harness_error() { return last_error.c_str(); }

// The device's name; nullptr where there is none.
char const* harness_device() {
    thread_local std::string name;
    return status_of([] { name = device::name(); }) == 0 ? name.c_str() : nullptr;
}

void* harness_engine(char const* library, GateCase const* given) {
    return object_of([&] { return new GateEngine(library, *given); });
}

size_t harness_workspace(void const* engine) { return static_cast<GateEngine const*>(engine)->workspace_bytes(); }

void harness_free_engine(void* engine) { delete static_cast<GateEngine*>(engine); }

void* harness_context(void const* engine, void const* w1, void const* w2, size_t guard, size_t offset, int poisoned) {
    return object_of([&] {
        return new GateContext(*static_cast<GateEngine const*>(engine), w1, w2, guard, offset, poisoned != 0);
    });
}

void harness_free_context(void* context) { delete static_cast<GateContext*>(context); }

int harness_run(void* context, int images, void const* x, void* y) {
    return status_of([&] { context_of(context).run(images, x, y); });
}

int harness_enqueue(void* context, int images, int times) {
    return status_of([&] { context_of(context).enqueue(images, times); });
}

int harness_capture(void* context, int images) {
    return status_of([&] { context_of(context).capture(images); });
}

int harness_replay(void* context, void const* x, void* y) {
    return status_of([&] { context_of(context).replay(x, y); });
}

}  // extern "C"
