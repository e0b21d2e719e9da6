"""What a checkpoint's files hold: each tensor's name, shape, place and bits."""
