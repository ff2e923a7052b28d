"""The hands: clusters that gpumedic looks at and gives orders to."""
