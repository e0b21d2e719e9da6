"""The terminal program over mlx_gemma4: talk to the model, show it your screen.

In a clone this package is called `app`; installed from a wheel it is `gemma4_app`. Imports
inside it are relative, so that both work. It never imports MLX.
"""
