"""The loop: model, loss, schedule, checkpoint, under any ``tf.distribute`` strategy. Knows nothing of Ray."""
