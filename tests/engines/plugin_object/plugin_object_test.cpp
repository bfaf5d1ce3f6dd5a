// Drives libstrip_gate.so through TensorRT's real interfaces, as TensorRT would, without any TensorRT library.
//   plugin_object_test <libstrip_gate.so> <gpu|no-gpu>    exit status 0, or the first failed line on standard error
#include "plugin.h"
#include "tests.h"

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: plugin_object_test <libstrip_gate.so> <gpu|no-gpu>\n");
        return 2;
    }
    nvinfer1::IPluginCreatorV3One& creator = load_creator(argv[1]);
    test_objects(creator);
    test_types_and_formats(creator);
    test_shapes(creator);
    test_enqueue_without_work(creator, std::strcmp(argv[2], "gpu") == 0);
    return 0;
}
