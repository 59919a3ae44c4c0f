"""The search for better settings of a training: the space, the study, what a trial is, and its charts. No training of the winner."""
