"""The built-in plugins. They use the same interface as any other plugin."""
