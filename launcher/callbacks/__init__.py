"""Lightning callbacks and the Trainer arguments that follow from a shape. Imports torch."""
