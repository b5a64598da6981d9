"""All benchmarks, one after another: ``python -m benchmarks``.

They take about 40 minutes. Run nothing else on the machine while they run.
"""

from benchmarks import crypto_primitives, dealings, network, partials, releases, serving, simulated

if __name__ == "__main__":
    crypto_primitives.main()
    dealings.main([])
    network.main(["genesis"])
    network.main(["rotation"])
    partials.main([])
    simulated.main([])
    releases.main([])
    serving.main([])
