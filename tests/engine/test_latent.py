import torch

from interlat.engine.latent import take_latent_steps


def test_each_state_is_read_through_the_connector_and_gradients_flow_through_all_steps():
    weight = torch.randn(3, 3, requires_grad=True)
    start = torch.randn(2, 1, 3)
    states = list(take_latent_steps(lambda inputs: inputs @ weight, torch.tanh, start, 3))
    expected, state = [], start
    for _ in range(3):
        state = torch.tanh(state) @ weight
        expected.append(state)
    assert len(states) == 3 and all(map(torch.equal, states, expected))
    (ours,) = torch.autograd.grad(states[-1].sum(), weight)
    (theirs,) = torch.autograd.grad(expected[-1].sum(), weight)
    assert torch.equal(ours, theirs)


def test_a_model_may_change_its_inputs_and_steps_are_taken_as_they_are_asked_for():
    calls = []

    def forward(inputs):
        calls.append(1)
        return inputs.mul_(2)

    start = torch.ones(1, 1, 2)
    steps = take_latent_steps(forward, lambda state: state, start, 5)
    assert next(steps).tolist() == [[[2.0, 2.0]]] and start.tolist() == [[[1.0, 1.0]]] and len(calls) == 1
    assert list(take_latent_steps(forward, torch.tanh, start, 0)) == []
