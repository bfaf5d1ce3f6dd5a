// The plugin as TensorRT uses it: an engine is built from it once, and any number of contexts run it.
#pragma once

#include "buffer.h"
#include "../plugin_object/descriptions.h"
#include "../plugin_object/plugin.h"

#include <map>
#include <memory>

// What is built: plain numbers, because Python fills them in.
struct GateCase {
    int32_t max_images;
    int32_t channels;
    int32_t height;
    int32_t width;
    int32_t strips;
    int32_t reduction;
    int32_t channels_last;
    int32_t hwc8;
    int32_t half;
    int32_t half_weights;
};

Shape shape_of_x(GateCase const& given, int64_t images);
size_t bytes_of_x(GateCase const& given, int64_t images);
size_t bytes_of_weights(GateCase const& given);
size_t bytes_of_y(GateCase const& given, int64_t images);

// The builder's calls in their order, then the runtime's: the plugin made anew from what it serialises.
// Throws std::runtime_error with the plugin's message where it refuses.
class GateEngine {
public:
    GateEngine(char const* library, GateCase const& given);

    GateCase const& given() const { return given_; }
    Problem const& problem() const { return problem_; }
    size_t workspace_bytes() const { return workspace_bytes_; }
    nvinfer1::IPluginV3* attach() const { return plugin_->runtime->attachToContext(nullptr); }

private:
    GateCase const given_;
    Problem const problem_;
    size_t workspace_bytes_ = 0;
    std::unique_ptr<Gate> plugin_;
};

// An execution context: a copy of the plugin, a stream, and device memory for the largest batch.
class GateContext {
public:
    // `guard` and `offset` are bytes, see Buffer. `poisoned`: Y and the workspace are filled with NaN before each run;
    // without, a checker of uninitialised memory sees what is read before it is written.
    GateContext(GateEngine const& engine, void const* w1, void const* w2, size_t guard, size_t offset, bool poisoned);
    ~GateContext();
    GateContext(GateContext const&) = delete;
    GateContext& operator=(GateContext const&) = delete;

    // One batch: X up, the kernel, Y down, and a look at the guards.
    void run(int32_t images, void const* x, void* y);
    // Queues one batch again and again without waiting, X and Y staying where they are.
    void enqueue(int32_t images, int32_t times);
    void capture(int32_t images);
    void replay(void const* x, void* y);

private:
    void prepare(int32_t images, void const* x);
    void launch(int32_t images);
    void finish(int32_t images, void* y);
    void check_guards();

    GateEngine const& engine_;
    Gate const gate_;
    device::Stream const stream_;
    bool const poisoned_;
    Buffer x_, w1_, w2_, y_, workspace_;
    void* graph_ = nullptr;
    int32_t captured_images_ = 0;
};
