"""The library's own saved models: file, folder, card, Hub."""
