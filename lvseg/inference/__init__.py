"""Trained runs → masks of whole studies, their volumes and files; TensorFlow, no Ray.

``open_predictor`` looks at runs and source, ``load_task`` reads images, ``Ensemble.predict`` runs the models,
``finish_study`` makes masks, volumes and files of a study; ``predict_locally`` does all of it in this process.
"""
