"""The CloudFormation template: linted, made in moto as far as moto goes, asserted for the rest."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from benchmarks.scaling import MEASURED, rate
from tests.deploy import places

REGION = "eu-central-1"
SECRET = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:ser-keys-AbCdEf"
IMAGE = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/ser-service:0.1.0"
UNKNOWN_TO_MOTO = {"ScalableTarget", "ScaleOnCpu", "ScaleOnRequests", "LoadBalancerToTasks"}
UNNAMED_BY_MOTO = {"ClientsByTls"}


def test_cfn_lint_finds_nothing() -> None:
    program = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run(
        [program, "--region", REGION, "--template", places.TEMPLATE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


class Stack:
    """What came of the template in moto."""

    def __init__(self, **parameters: str) -> None:
        ec2 = boto3.client("ec2", REGION)
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{z}"
            )
            for n, z in enumerate("ab")
        ]
        listed = ",".join(each["Subnet"]["SubnetId"] for each in subnets)
        given = {
            "Image": IMAGE,
            "VpcId": vpc,
            "LoadBalancerSubnets": listed,
            "TaskSubnets": listed,
            **parameters,
        }
        client = boto3.client("cloudformation", REGION)
        client.create_stack(
            StackName="ser",
            TemplateBody=places.TEMPLATE.read_text("utf-8"),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value} for name, value in given.items()
            ],
            Capabilities=["CAPABILITY_IAM"],
        )
        (stack,) = client.describe_stacks(StackName="ser")["Stacks"]
        self.status = stack["StackStatus"]
        self.outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        resources = client.describe_stack_resources(StackName="ser")["StackResources"]
        self.ids = {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for each in resources
            if "PhysicalResourceId" in each  # of what moto does not know it lists the name, or less
        }


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")
@pytest.mark.usefixtures("aws")
def test_a_stack_with_tls_and_keys_is_made() -> None:
    acm = boto3.client("acm", REGION)
    certificate = acm.request_certificate(DomainName="ser.example.org")["CertificateArn"]
    stack = Stack(CertificateArn=certificate, ApiKeysSecretArn=SECRET, Cpu="512", Memory="1024")
    assert stack.status == "CREATE_COMPLETE"
    assert stack.outputs["Url"].startswith("https://")
    missing = set(places.template()["Resources"]) - stack.ids.keys()
    assert missing == UNKNOWN_TO_MOTO | UNNAMED_BY_MOTO
    groups = boto3.client("ec2", REGION).describe_security_groups(
        GroupIds=[stack.ids["LoadBalancerSecurityGroup"]]
    )["SecurityGroups"]
    assert {each["FromPort"] for each in groups[0]["IpPermissions"]} == {80, 443}

    ecs = boto3.client("ecs", REGION)
    task = ecs.describe_task_definition(taskDefinition=stack.ids["TaskDefinition"])
    definition = task["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    assert container["image"] == IMAGE
    assert {"name": "SER_WORKERS", "value": "1"} in container["environment"]
    assert container["secrets"] == [{"name": "SER_API_KEYS", "valueFrom": SECRET}]
    assert container["readonlyRootFilesystem"] is True
    assert container["logConfiguration"]["options"]["awslogs-group"] == stack.ids["LogGroup"]

    balancing = boto3.client("elbv2", REGION)
    (balancer,) = balancing.describe_load_balancers()["LoadBalancers"]
    listeners = balancing.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])
    by_port = {each["Port"]: each for each in listeners["Listeners"]}
    assert by_port.keys() == {80, 443}
    assert by_port[443]["Certificates"][0]["CertificateArn"] == certificate
    assert by_port[443]["DefaultActions"][0]["Type"] == "forward"
    assert by_port[80]["DefaultActions"][0]["RedirectConfig"]["Protocol"] == "HTTPS"
    (group,) = balancing.describe_target_groups()["TargetGroups"]
    assert (group["HealthCheckPath"], group["Port"], group["TargetType"]) == ("/ready", 8000, "ip")

    described = ecs.describe_services(
        cluster=stack.outputs["ClusterName"], services=[stack.outputs["ServiceName"]]
    )
    assert described["services"][0]["taskDefinition"] == definition["taskDefinitionArn"]

    logs = boto3.client("logs", REGION).describe_log_groups()["logGroups"]
    assert [each["retentionInDays"] for each in logs] == [30]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")
@pytest.mark.usefixtures("aws")
def test_a_stack_without_a_certificate_answers_in_plain_http() -> None:
    stack = Stack()
    assert stack.status == "CREATE_COMPLETE"
    assert stack.outputs["Url"].startswith("http://")
    listeners = boto3.client("elbv2", REGION).describe_listeners(
        LoadBalancerArn=stack.ids["LoadBalancer"]
    )["Listeners"]
    assert [(each["Port"], each["Protocol"]) for each in listeners] == [(80, "HTTP")]
    assert [each["DefaultActions"][0]["Type"] for each in listeners] == ["forward"]


def test_what_moto_does_not_keep_is_as_fargate_needs_it() -> None:
    task, service = places.resource("TaskDefinition"), places.resource("Service")
    assert (task["Cpu"], task["Memory"]) == ({"Ref": "Cpu"}, {"Ref": "Memory"})
    assert task["NetworkMode"] == "awsvpc"
    assert task["RequiresCompatibilities"] == ["FARGATE"] == [service["LaunchType"]]
    assert service["LoadBalancers"] == [
        {"ContainerName": "ser", "ContainerPort": 8000, "TargetGroupArn": {"Ref": "TargetGroup"}}
    ]
    # Until it has a listener the target group belongs to no load balancer, and ECS refuses it.
    assert places.template()["Resources"]["Service"]["DependsOn"] == "Listener"


def statements() -> list[dict[str, Any]]:
    (policy,) = places.resource("ExecutionRole")["Policies"]
    listed = policy["PolicyDocument"]["Statement"]
    return [each["Fn::If"][1] if "Fn::If" in each else each for each in listed]


def test_roles_may_do_no_more_than_start_a_task() -> None:
    assert "Policies" not in places.resource("TaskRole")
    assert "ManagedPolicyArns" not in places.resource("TaskRole")
    assert "ManagedPolicyArns" not in places.resource("ExecutionRole")
    allowed = {}
    for each in statements():
        actions = each["Action"] if isinstance(each["Action"], list) else [each["Action"]]
        assert not any("*" in action for action in actions)
        allowed |= dict.fromkeys(actions, each["Resource"])
    everywhere = [action for action, where in allowed.items() if where == "*"]
    assert everywhere == ["ecr:GetAuthorizationToken"]
    assert allowed["logs:PutLogEvents"] == {"Fn::GetAtt": "LogGroup.Arn"}
    assert allowed["secretsmanager:GetSecretValue"] == {"Ref": "ApiKeysSecretArn"}


def test_only_the_load_balancer_reaches_the_tasks() -> None:
    (rule,) = places.resource("TaskSecurityGroup")["SecurityGroupIngress"]
    assert rule["SourceSecurityGroupId"] == {"Ref": "LoadBalancerSecurityGroup"}
    assert (rule["FromPort"], rule["ToPort"]) == (8000, 8000)
    assert "CidrIp" not in rule


def test_it_scales_on_cpu_and_on_requests_of_a_target() -> None:
    policies = [
        each["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        for each in places.template()["Resources"].values()
        if each["Type"] == "AWS::ApplicationAutoScaling::ScalingPolicy"
    ]
    kinds = {each["PredefinedMetricSpecification"]["PredefinedMetricType"] for each in policies}
    assert kinds == {"ECSServiceAverageCPUUtilization", "ALBRequestCountPerTarget"}
    target = places.resource("ScalableTarget")
    assert target["MinCapacity"] == {"Ref": "MinTasks"}
    assert target["MaxCapacity"] == {"Ref": "MaxTasks"}
    assert target["ResourceId"] == {"Fn::Sub": "service/${Cluster}/${Service.Name}"}
    # A number of tasks in the template would undo the scaling at each update.
    assert "DesiredCount" not in places.resource("Service")


def test_a_deployment_that_does_not_get_ready_is_rolled_back() -> None:
    deployment = places.resource("Service")["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert deployment["MinimumHealthyPercent"] == 100


def test_tasks_may_finish_before_they_are_killed() -> None:
    (container,) = places.resource("TaskDefinition")["ContainerDefinitions"]
    from api import gunicorn_config

    assert container["StopTimeout"] > gunicorn_config.graceful_timeout
    attributes = {
        each["Key"]: each["Value"]
        for each in places.resource("LoadBalancer")["LoadBalancerAttributes"]
    }
    assert int(attributes["idle_timeout.timeout_seconds"]) < gunicorn_config.keepalive


@pytest.mark.parametrize(
    ("parameter", "taken", "refused"),
    [
        (
            "ClientCidr",
            ("0.0.0.0/0", "10.0.0.0/8", "192.168.249.255/32", "203.0.113.0/24"),
            ("999.0.0.0/99", "256.0.0.0/8", "10.0.0.0/33", "10.0.0.0", "10.0.0/8", "office"),
        ),
        (
            "RateLimit",
            ("", "60/minute", "10/second;1000/day"),
            ("60", "0/minute", "60/fortnight", "60/minute;", "often"),
        ),
    ],
)
def test_a_parameter_takes_what_can_be_used_and_nothing_else(
    parameter: str, taken: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    pattern = places.template()["Parameters"][parameter]["AllowedPattern"]
    # CloudFormation holds the whole value against it.
    assert [each for each in taken if not re.fullmatch(pattern, each)] == []
    assert [each for each in refused if re.fullmatch(pattern, each)] == []


def test_scaling_plans_with_what_was_measured() -> None:
    per_second, _ = rate(MEASURED, clients=8)
    parameters, workers = places.template()["Parameters"], places.template()["Mappings"]["Workers"]
    planned = 0.6 * 60 * per_second
    assert 0.95 * planned < parameters["RequestsPerTarget"]["Default"] <= planned
    # It was measured with one CPU and app.json's processes.
    assert parameters["Cpu"]["Default"] == "1024"
    assert workers["1024"]["Count"] == places.app_json()["env"]["SER_WORKERS"]["value"]


FARGATE = {
    "256": range(512, 2049, 512),
    "512": range(1024, 4097, 1024),
    "1024": range(2048, 8193, 1024),
    "2048": range(4096, 16385, 1024),
    "4096": range(8192, 30721, 1024),
}
"""MiB that Fargate gives with so many CPU units."""


def test_every_pair_of_cpu_and_memory_that_passes_is_one_of_fargates() -> None:
    template = places.template()
    assert FARGATE.keys() == set(template["Parameters"]["Cpu"]["AllowedValues"])
    offered = set(template["Parameters"]["Memory"]["AllowedValues"])
    checked = {}
    for rule in template["Rules"].values():
        cpu = rule["RuleCondition"]["Fn::Equals"][1]
        (assertion,) = rule["Assertions"]
        checked[cpu] = assertion["Assert"]["Fn::Contains"][0]
        assert assertion["AssertDescription"].startswith(f"Memory: with Cpu {cpu} it must be")
    assert checked.keys() == FARGATE.keys()
    for cpu, memories in checked.items():
        assert set(memories) <= offered
        assert all(int(each) in FARGATE[cpu] for each in memories)
        assert template["Mappings"]["Workers"][cpu]["Count"] in {"1", "2", "4"}
