"""What is known of a site beside its telemetry: how long things take there, as far as known."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SiteFigures:
    """Times in seconds. The defaults are published figures or said to be assumed.

    repair_s:   a node taken out for repair is away so long on average: 61.9 % were back the same
                day, 10.3 % after two weeks (SuperBench, ATC'24); a day is between
    validate_s: a node in which nothing was found passes its checks (dcgmi diag -r 3: 15 min to an
                hour, NVIDIA's documentation; assumed)
    reboot_s:   an 8-GPU node with its self-test: 8 to 15 min (assumed)
    people_s:   from a page until a person has mended the fault or said what to do (assumed)
    page_gpu_s: what a page is priced at: two hours of one node, GPU-seconds (assumed)
    faults_a_day: incidents a day and 1,024 GPUs, where the cluster has told nothing yet (Llama 3:
                466 in 54 days on 16,384 GPUs)
    """

    repair_s: float = 86_400.0
    validate_s: float = 1_800.0
    reboot_s: float = 720.0
    people_s: float = 3_600.0
    page_gpu_s: float = 8 * 7_200.0
    faults_a_day: float = 0.54
    false_share: float = 0.05
