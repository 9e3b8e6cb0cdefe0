"""The rooms of the bundled household experiment."""

from interlat.experiments.household.author import TASK_TYPES, AuthorOptions

MINI_ROOMS = AuthorOptions(
    maximum_receptacles=12,
    density=0.2,
    exact_targets=True,
    task_types=(*TASK_TYPES, "pick_two_obj_and_place", "look_at_obj_in_light"),
    minimum_places=6,
)
"""Small rooms where the search decides; half of the games need two objects whose places are in doubt."""
