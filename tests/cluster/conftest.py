from tests.cluster.checkpoints import folders as folders
