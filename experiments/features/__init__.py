"""Features that a frozen encoder made once, from which heads learn instead of from sensors.

`experiments.extraction` fills a store, `experiments.features.reading` finds the one that a run may
read, `experiments.features.stored` takes the places of dataset and encoder.
"""
