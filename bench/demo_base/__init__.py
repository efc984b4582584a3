"""How the demo base model and the sample datasets under static/ were made, and how to make them again."""
