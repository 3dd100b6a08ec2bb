using System;
using CoreFn;

namespace Functions
{
    public class Example
    {
        public class Pair
        {
            public int A { get; set; }
            public int B { get; set; }
        }

        public class Outcome
        {
            public int Result { get; set; }
        }

        [ExportedFunction]
        public string HelloWorld() => "Hello world!";

        [ExportedFunction]
        public string SayHello(string name) => $"Hello, {name}!";

        [ExportedFunction]
        public string Now() => DateTime.UtcNow.ToString("o");

        [ExportedFunction]
        public Outcome Add(Pair pair) => new Outcome { Result = pair.A + pair.B };

        [ExportedFunction]
        public Outcome Multiply(Pair pair) => new Outcome { Result = pair.A * pair.B };
    }
}
