// Drives libstrip_gate.so through TensorRT's real interfaces, as TensorRT would, without any TensorRT library.
//   plugin_object_test <libstrip_gate.so>    exit status 0, or the first failed line on standard error
#include "check.h"
#include "plugin.h"
#include "tests.h"

namespace {

bool has_gpu() {
    void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    using Init = int (*)(unsigned);
    auto const init = driver == nullptr ? nullptr : reinterpret_cast<Init>(dlsym(driver, "cuInit"));
    return init != nullptr && init(0) == 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: plugin_object_test <libstrip_gate.so>\n");
        return 2;
    }
    try {
        nvinfer1::IPluginCreatorV3One& creator = load_creator(argv[1], &collect);
        test_objects(creator);
        test_types_and_formats(creator);
        test_shapes(creator);
        test_enqueue_without_work(creator, has_gpu());
    } catch (std::exception const& error) {
        std::fprintf(stderr, "%s\nlast message: %s\n", error.what(), last_message.c_str());
        return 1;
    }
    return 0;
}
