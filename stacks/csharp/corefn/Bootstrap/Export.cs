using System;
using System.Linq;
using System.Reflection;
using System.Threading.Tasks;

namespace CoreFn.Bootstrap
{
    /// <summary>A method that is called for requests.</summary>
    public sealed class Export
    {
        readonly Type type;
        readonly MethodInfo method;
        readonly ParameterInfo[] parameters;

        public Export(Type type, MethodInfo method)
        {
            this.type = type;
            this.method = method;
            parameters = method.GetParameters();
        }

        /// <summary>The name under which it is called, <c>Type.Method</c>.</summary>
        public string Name => type.Name + "." + method.Name;

        /// <summary>What it takes, or null.</summary>
        public Type ArgumentType => parameters.FirstOrDefault()?.ParameterType;

        /// <summary>What the body of a request is: <c>none</c>, <c>text</c> or <c>json</c>.</summary>
        public string ArgumentKind => ArgumentType == null ? "none" : Kind(ArgumentType);

        /// <summary>What the body of an answer is, in the same words.</summary>
        public string AnswerKind
        {
            get
            {
                var returned = method.ReturnType;
                if (returned == typeof(void) || returned == typeof(Task))
                {
                    return "none";
                }
                return Kind(IsTaskOf(returned) ? returned.GetGenericArguments()[0] : returned);
            }
        }

        /// <summary>Why a method can't be exported; null if it can.</summary>
        public static string WhyNot(Type type, MethodInfo method)
        {
            var parameters = method.GetParameters();
            if (!type.IsVisible || !method.IsPublic)
            {
                return "make it public, and its class";
            }
            if (type.IsGenericType || method.IsGenericMethod)
            {
                return "it is generic, and nobody says for which type";
            }
            if (parameters.Skip(1).Any(parameter => !parameter.IsOptional))
            {
                return $"it takes {parameters.Length} arguments; a function takes nothing or one, which may be a class";
            }
            if (parameters.Any(parameter => parameter.ParameterType.IsByRef))
            {
                return "an argument can't be ref or out";
            }
            if (!method.IsStatic && (type.IsAbstract || type.GetConstructor(Type.EmptyTypes) == null))
            {
                return "its class can't be made: give it a public constructor that takes nothing, or make the method static";
            }
            return null;
        }

        /// <summary>Calls the method with the argument that a body stands for.</summary>
        /// <returns>What it returned, or what its task came to; null if that is nothing.</returns>
        /// <exception cref="BadArgument">The body stands for none.</exception>
        public async Task<object> Call(byte[] body)
        {
            var arguments = parameters.Select(parameter => parameter.IsOptional ? parameter.DefaultValue : null).ToArray();
            if (arguments.Length > 0 && !(body.Length == 0 && parameters[0].IsOptional))
            {
                arguments[0] = Argument.Of(body, ArgumentType);
            }
            object target = null;
            try
            {
                target = method.IsStatic ? null : Activator.CreateInstance(type);
                var returned = method.Invoke(target, arguments);
                var task = returned as Task;
                if (task == null)
                {
                    return returned;
                }
                await task.ConfigureAwait(false);
                return IsTaskOf(method.ReturnType) ? method.ReturnType.GetProperty("Result").GetValue(task) : null;
            }
            finally
            {
                (target as IDisposable)?.Dispose();
            }
        }

        static string Kind(Type type) => type == typeof(string) ? "text" : "json";

        static bool IsTaskOf(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(Task<>);
    }
}
