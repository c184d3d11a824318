"""What people type becomes a caption that the model was taught, openly, before it is drawn."""

from .reading import Reading, read

__all__ = ["Reading", "read"]
