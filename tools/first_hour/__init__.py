"""The way from the README to a spoken question about the screen, played in a real terminal."""
