using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using Newtonsoft.Json;

namespace CoreFn.Bootstrap
{
    /// <summary>What the build and the image run: each of its words is one step of them.</summary>
    public static class Program
    {
        const int DefaultPort = 8080;

        public static int Main(string[] words)
        {
            try
            {
                switch (words.FirstOrDefault())
                {
                    case "references":
                        References.Tell(Directory.GetCurrentDirectory(), Console.Out);
                        return 0;
                    case "find":
                        Find(words[1], words[2]);
                        return 0;
                    case "serve":
                        Serve();
                        return 0;
                    case "wait":
                        Sandbox.Wait(words[1]);
                        Serve();
                        return 0;
                    default:
                        throw new Refused("write references, find ASSEMBLY FILE, serve, or wait SOCKET");
                }
            }
            catch (Refused refused)
            {
                Console.Error.WriteLine("error: " + refused.Message);
                return 1;
            }
        }

        /// <summary>Writes down the exports of an assembly, in the form that the builder reads.</summary>
        static void Find(string assembly, string file)
        {
            var exports = Exports.Of(Load(assembly));
            File.WriteAllText(file, JsonConvert.SerializeObject(exports.Values.Select(Listed)));
            Console.WriteLine("Exports: " + string.Join(", ", exports.Keys));
        }

        static IDictionary<string, string> Listed(Export export)
        {
            var listed = new Dictionary<string, string>
            {
                ["name"] = export.Name,
                ["argument"] = export.ArgumentKind,
                ["answer"] = export.AnswerKind,
            };
            if (export.ArgumentKind == "json")
            {
                listed["example"] = JsonConvert.SerializeObject(Example.Of(export.ArgumentType));
            }
            return listed;
        }

        /// <summary>Serves the assembly in the current folder.</summary>
        static void Serve() => Server.Serve(new Handler(Exports.Of(Load("function.dll"))).Answer, Port());

        static Assembly Load(string file) => Assembly.LoadFrom(Path.GetFullPath(file));

        static int Port()
        {
            var port = Environment.GetEnvironmentVariable("PORT");
            return string.IsNullOrEmpty(port) ? DefaultPort : int.Parse(port);
        }
    }

    /// <summary>Something can't be built; the message says what, and what to do.</summary>
    public sealed class Refused : Exception
    {
        public Refused(string message) : base(message)
        {
        }
    }
}
