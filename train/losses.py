"""What training minimises: softmax over the identities, and the batch-hard triplet loss beside it."""

from collections.abc import Callable

from torch import Tensor, nn

from .recipe import Recipe

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def training_loss(recipe: Recipe) -> Loss:
    """The recipe's loss.

    Args:
        recipe: its `label_smoothing` and `triplet_*`.

    Returns:
        A function of float32 logits (N, identities), float32 pooled descriptors (N, D) and labels (N,) int64 to the
        mean loss of the N images.
    """
    softmax = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    if recipe.triplet_weight == 0:
        return lambda logits, pooled, labels: softmax(logits, labels)
    triplet, weight = batch_hard_triplet_loss(recipe.triplet_margin), recipe.triplet_weight
    return lambda logits, pooled, labels: softmax(logits, labels) + weight * triplet(pooled, labels)


def batch_hard_triplet_loss(margin: float | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The triplet loss of "In Defense of the Triplet Loss" (Hermans et al. 2017), on Euclidean distances.

    Each image is compared with the farthest of its person and the nearest of another person in the batch. The mean is
    over all images that have both, those with a loss of 0 included.

    Args:
        margin: by which the other person is to be farther; None for the soft margin, log(1 + exp(d_p - d_n)).

    Returns:
        A function of float32 descriptors (N, D) and labels (N,) int64 to the loss; 0 where no image has both.
    """
    # Here, because it takes two seconds to import and most recipes do without.
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import BatchHardMiner
    from pytorch_metric_learning.reducers import MeanReducer

    # The library's own choices are others: distances between normalised descriptors, and the mean of non-zero losses.
    distance = LpDistance(normalize_embeddings=False)
    mine = BatchHardMiner(distance=distance)
    loss = TripletMarginLoss(margin=margin or 0.0, smooth_loss=margin is None, distance=distance, reducer=MeanReducer())

    def triplet(descriptors: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = loss(descriptors, labels, mine(descriptors, labels))
        return value

    return triplet
