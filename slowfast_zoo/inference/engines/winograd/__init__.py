"""Convolutions of three taps with fewer products: the arithmetic, and its C++."""
