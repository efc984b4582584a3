"""The page, its services and the launcher."""

import os

# Gradio reads this while it is imported, and contacts two hosts unless it is told not to.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
