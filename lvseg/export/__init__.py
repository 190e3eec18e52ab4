"""A run's model as files that other programs read: Keras, TensorFlow SavedModel, ONNX; and its model card."""
