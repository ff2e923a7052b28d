"""What a policy chooses from about one incident: the same menu in life and in simulation."""

from enum import IntEnum


class Choice(IntEnum):
    """The discrete actions; the numbers are part of a trained policy's file: new ones at the end.

    Each is a short plan of the catalogue's actions about the job that an incident touches (the
    largest on the blamed node) and the nodes that its diagnosis blames. Where the job runs, a
    choice that stops it saves its state first.
    """

    WAIT = 0  # do nothing now; the incident is looked at again
    CHECKPOINT = 1  # save the job's state, and go on looking
    RESTART = 2  # start the job again on the nodes it has
    REBOOT = 3  # stop the job, reboot the blamed node, start the job on the same nodes
    SWAP = 4  # cordon the node, put a spare in its place; repaired and checked before it returns
    SWAP_AND_REPAIR = 5  # the same, and reboot the node at once: it returns as it comes up
    SWAP_BOTH = 6  # swap the two nodes that are blamed, in one stop
    SHRINK = 7  # cordon the node and go on without it; the job grows again when it can
    BORROW = 8  # put a node of a job of lower priority in its place
    ROLL_BACK = 9  # start from the checkpoint before the newest
    TUNE = 10  # turn the knob that the likeliest cause calls for
    ESCALATE = 11  # page a person, who comes in a while, finds the fault and mends it
