"""The launcher: supervises a training's ranks, keeps standbys warm, hands over when one dies."""
