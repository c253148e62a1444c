"""The model and all around it: layers, encoders, losses, metrics, training, runs, recommending, export, serving."""
