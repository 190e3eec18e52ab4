"""Distributed training of left-ventricle segmentation from short-axis cardiac MRI, on Ray."""

__version__ = "0.1.0"
