"""What a run will take, told before it starts, and what would fit in its place."""

from app.services.estimate.fitting import Fitting, settings_that_fit

__all__ = ["Fitting", "settings_that_fit"]
