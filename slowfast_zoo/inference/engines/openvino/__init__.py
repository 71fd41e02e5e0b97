"""The engine "openvino", and int8 networks for it."""
