"""The settings of a machine as a node."""

from pydantic import Field

from agent.config.kinds import Name, OneSecondOrMore, PathText, SecretFile, Section, Text
from agent.quantities import parse_duration as duration


class Node(Section):
    """This machine as a node."""

    enabled: bool = Field(default=True, description="whether this machine's own readings are taken")
    node: Text = Field(default="", description="its node name; empty: the machine's host name")
    group: Name = Field(default="default", description="node group that autonomy rules match")
    volumes: tuple[PathText, ...] = Field(
        default=(), description="mount points to watch; empty: all on disks"
    )
    interval: OneSecondOrMore = Field(
        default=duration("15s"), description="time between two readings of the node service"
    )
    kernel_log: bool = Field(default=True, description="whether this machine's kernel log is read")
    dcgm_names: bool = Field(
        default=False, description="whether its page has dcgm-exporter's names beside ours"
    )
    orders_token_file: SecretFile = Field(
        default="",
        description="file with the token that orders to the node service must bring; empty: it "
        "takes none",
    )
