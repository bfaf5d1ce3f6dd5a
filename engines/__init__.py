"""ONNX graph rewriting, the StripGate plugin and the TensorRT builder. Never imports torch."""
