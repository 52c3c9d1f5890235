"""What the image must answer, and the frames to ask it with."""
