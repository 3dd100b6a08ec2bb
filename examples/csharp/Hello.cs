using System;
using CoreFn;

/// <summary>First functions: text and JSON in, text and JSON out.</summary>
public class Hello
{
    /// <summary>Two numbers: <c>{"A":1,"B":2}</c>.</summary>
    public class Operands
    {
        public int A { get; set; }
        public int B { get; set; }
    }

    /// <summary>What came out: <c>{"Result":3}</c>.</summary>
    public class Answer
    {
        public int Result { get; set; }
    }

    [ExportedFunction]
    public string HelloWorld() => "Hello world!";

    [ExportedFunction]
    public string SayHello(string name) => $"Hello, {name}!";

    /// <summary>The time, as RFC 3339 has it.</summary>
    [ExportedFunction]
    public string Now() => DateTime.UtcNow.ToString("o");

    [ExportedFunction]
    public Answer Add(Operands operands) => new Answer { Result = operands.A + operands.B };

    [ExportedFunction]
    public Answer Multiply(Operands operands) => new Answer { Result = operands.A * operands.B };
}
