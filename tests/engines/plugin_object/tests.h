// The parts of plugin_object_test; each ends the program at the first check that fails.
#pragma once

#include <NvInferRuntime.h>

void test_objects(nvinfer1::IPluginCreatorV3One& creator);
void test_types_and_formats(nvinfer1::IPluginCreatorV3One& creator);
void test_shapes(nvinfer1::IPluginCreatorV3One& creator);
void test_enqueue_without_work(nvinfer1::IPluginCreatorV3One& creator, bool has_gpu);
