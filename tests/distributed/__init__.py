"""Tests that start Ray. A package, so that what has the scope of one, such as Ray's cluster, ends with its tests."""
