"""Using trained models: predict, verify, render, export, benchmark."""
